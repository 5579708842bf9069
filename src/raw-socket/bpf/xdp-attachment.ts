/**
 * A program at an interface's way in (XDP). By a link where the kernel has them for XDP (Linux ≥ 5.9): the attachment is a descriptor, and
 * ends with the last one of it, however this process ends. Else by netlink: it stays until somebody takes it off.
 */
import { CodedError, EXIT } from '../../base/errors.ts';
import { closeDescriptor } from '../file.ts';
import { E, errno, errnoName } from '../library.ts';
import { NetlinkError, withNetlink } from '../netlink.ts';
import { attribute, nested } from '../netlink-message.ts';
import { BPF_LINK_CREATE, bpfError, bpfParameters, tryBpf } from './call.ts';

const BPF_XDP = 37;
/** linux/if_link.h */
const XDP_FLAGS_UPDATE_IF_NOEXIST = 1;
const XDP_FLAGS_SKB_MODE = 2;
const XDP_FLAGS_DRV_MODE = 4;
const RTM_SETLINK = 19;
const IFLA_XDP = 43;
const IFLA_XDP_FD = 1;
const IFLA_XDP_FLAGS = 3;
const IFINFOMSG_BYTES = 16;

/** `native`: in the device's driver. `generic`: in the kernel's receive path, for any device, later and slower. */
export type XdpMode = 'native' | 'generic';
const MODE_FLAGS: Readonly<Record<XdpMode, number>> = { native: XDP_FLAGS_DRV_MODE, generic: XDP_FLAGS_SKB_MODE };

export interface XdpTarget {
  readonly interfaceIndex: number;
  /** For messages. */
  readonly device: string;
}

export interface XdpAttachment {
  readonly mode: XdpMode;
  /** Descriptor of the link; −1 when attached by netlink. */
  readonly link: number;
  /** Takes the program off. */
  detach(): void;
}

export interface AttachOptions {
  /** Tried in this order; default native, then generic. */
  readonly modes?: readonly XdpMode[];
  /** Default `link`, with `netlink` where the kernel has no links for XDP. */
  readonly way?: 'link' | 'netlink';
}

/**
 * Attaches a loaded program. Throws CodedError GD_RAW_SOCKET_XDP_BUSY when another program is there, GD_RAW_SOCKET_BPF when the kernel refuses in every
 * mode.
 */
export function attachXdp(program: number, target: XdpTarget, options: AttachOptions = {}): XdpAttachment {
  let refusal: Error | null = null;
  for (const mode of options.modes ?? (['native', 'generic'] as const)) {
    const result = options.way === 'netlink' ? byNetlink(program, target, mode) : byLink(program, target, mode);
    if (!(result instanceof Error)) return result;
    refusal ??= result;
  }
  throw refusal ?? new RangeError('no mode to attach in');
}

/** A descriptor of a link that another process made: closing it detaches, unless that process still has its own. */
export function adoptLink(link: number, mode: XdpMode): XdpAttachment {
  return { mode, link, detach: () => closeDescriptor(link) };
}

function byLink(program: number, target: XdpTarget, mode: XdpMode): XdpAttachment | Error {
  const parameters = bpfParameters();
  parameters.int32[0] = program;
  parameters.int32[1] = target.interfaceIndex;
  parameters.int32[2] = BPF_XDP;
  parameters.int32[3] = MODE_FLAGS[mode];
  const link = tryBpf(BPF_LINK_CREATE, parameters, 16);
  if (link >= 0) return adoptLink(link, mode);
  const number = errno();
  if (number === E.EBUSY || number === E.EEXIST) throw busy(target, number);
  // Before Linux 5.9: the command is unknown, or knows no XDP.
  if (number === E.EINVAL) return byNetlink(program, target, mode);
  return bpfError(`attach an XDP program to ${target.device} (${mode})`, number);
}

function byNetlink(program: number, target: XdpTarget, mode: XdpMode): XdpAttachment | Error {
  try {
    setProgram(target, program, MODE_FLAGS[mode] | XDP_FLAGS_UPDATE_IF_NOEXIST);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    if (error.errno === E.EBUSY || error.errno === E.EEXIST) throw busy(target, error.errno);
    return error;
  }
  return { mode, link: -1, detach: () => detachByNetlink(target, mode) };
}

/** An interface that is gone has no program. */
function detachByNetlink(target: XdpTarget, mode: XdpMode): void {
  try {
    setProgram(target, -1, MODE_FLAGS[mode]);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errno !== E.ENODEV) throw error;
  }
}

/** Descriptor −1 takes off what is there. */
function setProgram(target: XdpTarget, program: number, flags: number): void {
  const fixed = new Uint8Array(IFINFOMSG_BYTES);
  new Int32Array(fixed.buffer)[1] = target.interfaceIndex;
  const xdp = nested(IFLA_XDP, attribute(IFLA_XDP_FD, program >>> 0), attribute(IFLA_XDP_FLAGS, flags));
  withNetlink((socket) => socket.change(`XDP program of ${target.device}`, RTM_SETLINK, 0, fixed, [xdp]));
}

function busy(target: XdpTarget, number: number): CodedError {
  return new CodedError(
    'GD_RAW_SOCKET_XDP_BUSY',
    `another XDP program is attached to ${target.device} (${errnoName(number)}): it may be that of another director`,
    {
      exitCode: EXIT.FAILED,
      hint: `ip link show dev ${target.device}   names it; ip link set dev ${target.device} xdp off   takes it off`,
    },
  );
}
