/** Addresses of unix sockets, as the kernel takes them. (unix(7)) */
import { CodedError, EXIT } from '../base/errors.ts';

export const AF_UNIX = 1;

/** sizeof(sun_path) with its final zero byte (include/uapi/linux/un.h). */
const MOST_PATH = 107;

/**
 * A sockaddr_un of a path, or of an abstract name when `path` begins with `@`. Its length is the array's.
 *
 *     | u16 family | path … | 0 |        a file
 *     | u16 family | 0 | name … |        an abstract name: no zero byte ends it
 *
 * Throws CodedError GD_RAW_SOCKET_UNIX_PATH when it is empty or too long.
 */
export function unixAddress(path: string): Uint8Array {
  const text = new TextEncoder().encode(path);
  if (text.length === 0 || text.length > MOST_PATH) {
    throw new CodedError('GD_RAW_SOCKET_UNIX_PATH', `"${path}" can not name a unix socket: 1 to ${MOST_PATH} bytes`, {
      exitCode: EXIT.CONFIG,
    });
  }
  const abstract = path.startsWith('@');
  const bytes = new Uint8Array(2 + text.length + (abstract ? 0 : 1));
  new Uint16Array(bytes.buffer, 0, 1)[0] = AF_UNIX;
  bytes.set(text, 2);
  if (abstract) bytes[2] = 0;
  return bytes;
}
