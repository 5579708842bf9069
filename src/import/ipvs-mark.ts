/** What a firewall mark stands for: IPVS does not know, the packet filter that sets the mark does; so the operator says it. */
import { formatAddress, formatPrefix } from '../base/address.ts';
import { CodedError, EXIT } from '../base/errors.ts';
import { parsePrefix } from '../config/address.ts';
import { parsePorts } from '../config/port.ts';
import type { IpvsProtocol } from './ipvs-save.ts';

export interface MarkedTraffic {
  readonly mark: number;
  readonly protocol: IpvsProtocol;
  /** As the configuration spells it: `192.0.2.10`, `2001:db8::/64`. */
  readonly address: string;
  readonly family: 4 | 6;
  /** `80`, `8000-8999`, `all`. */
  readonly port: string;
}

const EXAMPLES = '7=tcp:192.0.2.0/28:80-90, 7=udp:192.0.2.10 (every port) or 8=tcp:[2001:db8::/64]:443';

/** `MARK=PROTOCOL:ADDRESS[/LENGTH][:PORTS]`. Throws GD_IMPORT_MARK (exit code 2) with what is wrong. */
export function parseMarkedTraffic(text: string): MarkedTraffic {
  const match = /^(\d{1,10})=(tcp|udp|sctp):(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9a-z-]+))?$/.exec(text);
  if (match === null) throw refused(`"${text}" is not MARK=PROTOCOL:ADDRESS[/LENGTH][:PORTS]`);
  const prefix = parsePrefix(match[3] ?? match[4]);
  if (prefix.value === null) throw refused(prefix.refusal.message);
  const { bytes, length } = prefix.value;
  const port = match[5] ?? 'all';
  const ports = parsePorts(/^\d+$/.test(port) ? Number(port) : port);
  if (ports.refusal !== null) throw refused(ports.refusal.message);
  const mark = Number(match[1]);
  if (mark < 1 || mark > 0xffffffff) throw refused(`${match[1]} is not a firewall mark: 1 to 4294967295`);
  return {
    mark,
    protocol: match[2] as IpvsProtocol,
    address: length === bytes.length * 8 ? formatAddress(bytes) : formatPrefix(prefix.value),
    family: bytes.length === 4 ? 4 : 6,
    port,
  };
}

function refused(message: string): CodedError {
  return new CodedError('GD_IMPORT_MARK', message, { exitCode: EXIT.USAGE, hint: `write for example --fwmark ${EXAMPLES}` });
}
