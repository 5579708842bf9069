/**
 * Open descriptors travel from one process to another beside the bytes of a unix stream socket (unix(7), SCM_RIGHTS). What arrives is another
 * number for the same open file: the same queue of a device, the same packet socket with what waits in it.
 *
 *     struct msghdr, 56 bytes:                         struct cmsghdr and what it carries:
 *      0 name*     8 namelen (12 pad)                   0 u64 length 16 + 4 × n | 8 i32 SOL_SOCKET | 12 i32 SCM_RIGHTS
 *     16 iov*     24 iovlen                            16 i32 descriptor × n
 *     32 control* 40 controllen   48 flags (52 pad)
 *
 * A stream may be cut anywhere, but descriptors come with the first byte they were sent with, and one call never returns two groups of them
 * (net/unix/af_unix.c: unix_stream_read_generic).
 */
import { CodedError } from '../base/errors.ts';
import { closeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { pin, retain, storeAddress } from './memory.ts';
import { SOL_SOCKET } from './socket.ts';

const sendmsgCall = libc<(fd: number, at: number, flags: number) => number>('intptr_t sendmsg(int fd, uintptr_t at, int flags)');
const recvmsgCall = libc<(fd: number, at: number, flags: number) => number>('intptr_t recvmsg(int fd, uintptr_t at, int flags)');

/** What one call takes at most (include/net/scm.h: SCM_MAX_FD). */
export const MOST_DESCRIPTORS = 253;

const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 0x8;
const MESSAGE_BYTES = 56;
const CONTROL_HEADER = 16;
const CONTROL_BYTES = CONTROL_HEADER + MOST_DESCRIPTORS * 4 + 4;
const RECEIVE_BYTES = 64 * 1024;

/** What one call received; `bytes` is a copy. */
export interface Received {
  readonly bytes: Uint8Array;
  /** New numbers of this process, in the order in which they were sent; whoever gets them closes them. Not inherited by children. */
  readonly descriptors: readonly number[];
}

/**
 * Sends bytes, and with the first of them open descriptors, at most MOST_DESCRIPTORS. Returns how many bytes went; 0 when the other side must read
 * first (then no descriptor went either). They stay open here. Throws CodedError GD_RAW_SOCKET_PEER_GONE when nobody is at the other end any more,
 * GD_RAW_SOCKET_CALL otherwise; RangeError for descriptors without a byte.
 */
export function sendWithDescriptors(socket: number, bytes: Uint8Array, descriptors: readonly number[] = []): number {
  if (bytes.length === 0) throw new RangeError('descriptors travel with a byte at least');
  if (descriptors.length > MOST_DESCRIPTORS) {
    throw new RangeError(`at most ${MOST_DESCRIPTORS} descriptors travel together, not ${descriptors.length}`);
  }
  const data = pin(bytes.length);
  data.bytes.set(bytes);
  const controlLength = descriptors.length === 0 ? 0 : CONTROL_HEADER + descriptors.length * 4;
  const header = layMessage(data.address, bytes.length);
  const control = pin(CONTROL_BYTES);
  if (controlLength > 0) {
    control.int32[0] = controlLength;
    control.int32[2] = SOL_SOCKET;
    control.int32[3] = SCM_RIGHTS;
    control.int32.set(descriptors, CONTROL_HEADER >> 2);
    storeAddress(header.int32, 8, control.address);
    // CMSG_SPACE: the kernel takes the last one without its padding too.
    header.int32[10] = controlLength;
  }
  const sent = sendmsgCall(socket, header.address, MSG_DONTWAIT | MSG_NOSIGNAL);
  const number = sent < 0 ? errno() : 0;
  retain(data);
  retain(control);
  retain(header);
  if (number === 0) return sent;
  if (number === E.EAGAIN || number === E.EINTR) return 0;
  if (number === E.EPIPE || number === E.ECONNRESET) throw peerGone();
  return must(sent, 'sendmsg with descriptors');
}

/**
 * What waits at the socket, up to 64 KiB; null when nothing does. An end of the stream is a Received without bytes. Throws CodedError: GD_RAW_SOCKET_PEER_GONE
 * after a reset, GD_RAW_SOCKET_DESCRIPTORS_LOST when this process may not open as many files as were sent (those that came are closed again).
 */
export function receiveWithDescriptors(socket: number): Received | null {
  const data = pin(RECEIVE_BYTES);
  const control = pin(CONTROL_BYTES);
  const header = layMessage(data.address, RECEIVE_BYTES);
  storeAddress(header.int32, 8, control.address);
  header.int32[10] = CONTROL_BYTES;
  const got = recvmsgCall(socket, header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const number = got < 0 ? errno() : 0;
  retain(data);
  if (number === E.EAGAIN || number === E.EINTR) return null;
  if (number === E.ECONNRESET) throw peerGone();
  must(got, 'recvmsg with descriptors');
  const descriptors = descriptorsIn(control.int32, header.int32[10]);
  if ((header.int32[12] & MSG_CTRUNC) !== 0) {
    for (const descriptor of descriptors) closeDescriptor(descriptor);
    throw new CodedError('GD_RAW_SOCKET_DESCRIPTORS_LOST', 'not all descriptors that were sent arrived', {
      hint: 'raise the limit of open files (prlimit --nofile, LimitNOFILE=)',
    });
  }
  return { bytes: data.bytes.slice(0, got), descriptors };
}

/** A message of one piece, without control data. */
function layMessage(address: number, bytes: number): ReturnType<typeof pin> {
  // The iovec (16 bytes) lies behind the header.
  const header = pin(MESSAGE_BYTES + 16);
  storeAddress(header.int32, 4, header.address + MESSAGE_BYTES);
  header.int32[6] = 1;
  storeAddress(header.int32, MESSAGE_BYTES >> 2, address);
  header.int32[(MESSAGE_BYTES >> 2) + 2] = bytes;
  return header;
}

function descriptorsIn(words: Int32Array, bytes: number): number[] {
  const found: number[] = [];
  let at = 0;
  while (at + CONTROL_HEADER <= bytes) {
    const length = words[at >> 2];
    if (length < CONTROL_HEADER) break;
    if (words[(at >> 2) + 2] === SOL_SOCKET && words[(at >> 2) + 3] === SCM_RIGHTS) {
      for (let i = at + CONTROL_HEADER; i + 4 <= at + length; i += 4) found.push(words[i >> 2]);
    }
    at += Math.ceil(length / 8) * 8;
  }
  return found;
}

function peerGone(): CodedError {
  return new CodedError('GD_RAW_SOCKET_PEER_GONE', 'the process at the other end of the socket is gone');
}
