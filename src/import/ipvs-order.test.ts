import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inKernelOrder, parseKernelOrder } from './ipvs-order.ts';
import { applyCommands, formatEndpoint } from './ipvs-rules.ts';
import { parseIpvsSave } from './ipvs-save.ts';
import { Problems } from './place.ts';

/** Of a Linux 6.1 to which the servers were added in the order .9, .1, .5. */
const PROC = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
UDP  C0000201:13C5 rr ops  
UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 rr persistent 30000 40000000
  -> 0A000003:0035      Tunnel  1      0          0         
  -> [2001:0db8:0000:0000:0000:0000:0000:0009]:0035      Tunnel  1      0          0         
TCP  C0000201:0050 mh  
  -> C6336405:0050      Tunnel  0      0          0         
  -> C6336401:0050      Tunnel  1      0          0         
  -> C6336409:0050      Tunnel  3      0          0         
FWM  00000010 wrr 
  -> C6336407:0000      Route   12     0          0         
`;
/** The same by ipvsadm -Ln --nosort. */
const LIST = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
UDP  192.0.2.1:5061 rr ops
UDP  [2001:db8::1]:53 rr persistent 300 mask 64 ops
  -> 10.0.0.3:53                  Tunnel  1      0          0         
  -> [2001:db8::9]:53             Tunnel  1      0          0         
TCP  192.0.2.1:80 mh (mh-fallback,mh-port)
  -> 198.51.100.5:80              Tunnel  0      0          0         
  -> 198.51.100.1:80              Tunnel  1      0          0         
  -> 198.51.100.9:80              Tunnel  3      0          0         
FWM  16 wrr
  -> 198.51.100.7:0               Route   12     0          0         
`;

const RULES = `-A -t 192.0.2.1:80 -s mh
-a -t 192.0.2.1:80 -r 198.51.100.1:80 -g
-a -t 192.0.2.1:80 -r 198.51.100.5:80 -g
-a -t 192.0.2.1:80 -r 198.51.100.9:80 -g
`;

test('the kernel lists the server first that was added last', () => {
  for (const text of [PROC, LIST]) {
    const problems = new Problems('list');
    const order = parseKernelOrder(text, problems);
    assert.deepEqual(problems.list, []);
    assert.deepEqual(
      [...order],
      [
        ['-u 192.0.2.1:5061', []],
        ['-u [2001:db8::1]:53', ['10.0.0.3:53', '[2001:db8::9]:53']],
        ['-t 192.0.2.1:80', ['198.51.100.5:80', '198.51.100.1:80', '198.51.100.9:80']],
        ['-f 16', ['198.51.100.7:0']],
      ],
    );
    const { services } = applyCommands(parseIpvsSave(RULES, problems), problems);
    const ordered = inKernelOrder(services[0], order);
    assert.deepEqual(
      ordered?.servers.map((one) => formatEndpoint(one.address, one.port)),
      ['198.51.100.9:80', '198.51.100.1:80', '198.51.100.5:80'],
    );
  }
});

test('a list of other servers gives no order', () => {
  const problems = new Problems('list');
  const order = parseKernelOrder(PROC, problems);
  for (const rules of [
    `${RULES}-a -t 192.0.2.1:80 -r 198.51.100.2:80 -g\n`,
    RULES.replaceAll('198.51.100.9', '198.51.100.8'),
    RULES.replaceAll(':80', ':81'),
  ]) {
    const { services } = applyCommands(parseIpvsSave(rules, problems), problems);
    assert.equal(inKernelOrder(services[0], order), null);
  }
});

test('what is no such list is refused with its line', () => {
  const wrong: readonly (readonly [string, number])[] = [
    ['-A -t 192.0.2.1:80 -s mh\n', 1],
    [PROC.replace('C6336405:0050', 'nothing'), 9],
    [PROC.replace('TCP ', 'GRE '), 8],
    [PROC.replace(/UDP {2}C0000201:13C5.*\nUDP.*\n/, ''), 4],
  ];
  for (const [text, line] of wrong) {
    const problems = new Problems('list');
    parseKernelOrder(text, problems);
    assert.deepEqual(
      problems.list.map((one) => [one.line, one.code]),
      [[line, 'GD_IMPORT_KERNEL_LIST']],
    );
  }
});
