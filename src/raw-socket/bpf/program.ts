/** Programs: loaded through the kernel's verifier, run once over a packet for tests. */
import { CodedError, EXIT } from '../../base/errors.ts';
import { E, errno, errnoName } from '../library.ts';
import { pin, retain, storeAddress } from '../memory.ts';
import { INSTRUCTION_BYTES } from './assemble.ts';
import { BPF_PROG_LOAD, BPF_PROG_TEST_RUN, bpf, bpfError, bpfParameters, tryBpf } from './call.ts';

const BPF_PROG_TYPE_XDP = 6;
/** expected_attach_type of a program that a link attaches (enum bpf_attach_type); older kernels do not look at it for XDP. */
const BPF_XDP = 37;
/** The verifier's steps, each instruction it looked at. */
const LOG_LEVEL = 1;
const LOG_BYTES = 1 << 20;
const NAME_AT = 48;
/** The program takes packets that lie in several pieces of memory, of which it sees the first (Linux ≥ 5.18). */
const BPF_F_XDP_HAS_FRAGS = 1 << 5;
/** Lines of the log that stand in the message: the last ones say what was wrong. */
const LOG_LINES = 12;
/** Helpers for GPL programs only are not used here. */
const LICENSE = 'Apache-2.0';

/** What the program answers (enum xdp_action). */
export const XDP_ABORTED = 0;
export const XDP_DROP = 1;
export const XDP_PASS = 2;
export const XDP_TX = 3;
export const XDP_REDIRECT = 4;

/**
 * Loads an XDP program and returns its descriptor. It takes packets in several pieces where the kernel knows such: it sees the first. `name` has up to 15 letters, digits, `_` or `.`. Throws CodedError GD_RAW_SOCKET_BPF_REFUSED with the end of
 * the verifier's log when it finds fault with it, GD_RAW_SOCKET_BPF when the kernel refuses before.
 */
export function loadXdpProgram(name: string, code: Uint8Array): number {
  const instructions = pin(code.length);
  instructions.bytes.set(code);
  const license = pin(16);
  license.bytes.set(new TextEncoder().encode(LICENSE));
  const log = pin(LOG_BYTES);
  const parameters = bpfParameters();
  const words = parameters.int32;
  words[0] = BPF_PROG_TYPE_XDP;
  words[1] = code.length / INSTRUCTION_BYTES;
  storeAddress(words, 2, instructions.address);
  storeAddress(words, 4, license.address);
  parameters.bytes.set(new TextEncoder().encode(name.slice(0, 15)), NAME_AT);
  words[17] = BPF_XDP;
  words[11] = BPF_F_XDP_HAS_FRAGS;
  let result = tryBpf(BPF_PROG_LOAD, parameters, 72);
  if (result < 0 && errno() === E.EINVAL) {
    words[11] = 0;
    result = tryBpf(BPF_PROG_LOAD, parameters, 72);
  }
  if (result < 0 && (errno() === E.EINVAL || errno() === E.EACCES)) {
    // Once more for the log, which costs time and memory.
    words[6] = LOG_LEVEL;
    words[7] = LOG_BYTES;
    storeAddress(words, 8, log.address);
    result = tryBpf(BPF_PROG_LOAD, parameters, 72);
  }
  const number = result < 0 ? errno() : 0;
  retain(instructions);
  retain(license);
  retain(log);
  if (result >= 0) return result;
  const text = new TextDecoder().decode(log.bytes.subarray(0, log.bytes.indexOf(0))).trim();
  if (text === '') throw bpfError(`load program ${name}`, number);
  throw new CodedError(
    'GD_RAW_SOCKET_BPF_REFUSED',
    `the kernel's verifier refused program ${name} (${errnoName(number)}):\n${text.split('\n').slice(-LOG_LINES).join('\n')}`,
    { exitCode: EXIT.FAILED, hint: 'use another ingress driver, and report this with the output of: uname -a' },
  );
}

/** Runs a loaded program once over `packet` (at least an Ethernet header) without sending anything; returns its answer. */
export function testProgram(descriptor: number, packet: Uint8Array): number {
  const data = pin(packet.length);
  data.bytes.set(packet);
  const parameters = bpfParameters();
  const words = parameters.int32;
  words[0] = descriptor;
  words[2] = packet.length;
  storeAddress(words, 4, data.address);
  words[8] = 1;
  bpf(BPF_PROG_TEST_RUN, parameters, 40, 'test run of a program');
  retain(data);
  return words[1];
}
