// The oracle itself: before the director is judged by User-Mode Linux, hand-made packets show that this kernel unwraps GUE in all
// four mixes of families and answers the client directly.
//
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { echoRequest, wrap } from './echo-packet.ts';
import { Guest } from './guest.ts';

/** Echo replies that the client's kernel has received so far. */
function repliesAt(lab: Lab): { four: number; six: number } {
  const [names, values] = lab.client.run('grep', ['^Icmp:', '/proc/net/snmp']).trim().split('\n');
  const four = Number(values.split(' ')[names.split(' ').indexOf('InEchoReps')]);
  const six = Number(/Icmp6InEchoReplies\s+(\d+)/.exec(lab.client.run('cat', ['/proc/net/snmp6']))?.[1]);
  return { four, six };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not within 5 s: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

test('a real kernel unwraps GUE and answers the client', needs('root', 'namespaces', 'tun', 'uml'), async (t) => {
  const lab = Lab.create({ workers: 0 });
  t.after(() => lab.close());
  const guest = await Guest.boot(lab, { vips: [lab.vip4, lab.vip6] });
  t.after(() => guest.stop());

  for (const outer of [guest.address4, guest.address6]) {
    for (const inner of [4, 6] as const) {
      const outerFamily = outer.includes(':') ? 6 : 4;
      await t.test(`IPv${inner} in IPv${outerFamily}`, async () => {
        const packet = inner === 4 ? echoRequest(lab.client.address4, lab.vip4) : echoRequest(lab.client.address6, lab.vip6);
        const before = repliesAt(lab);
        const send = `
          const socket = require('node:dgram').createSocket('udp${outerFamily}');
          socket.send(Buffer.from('${wrap(packet).toString('hex')}', 'hex'), 6080, '${outer}', () => socket.close());`;
        lab.director.run(process.execPath, ['-e', send]);
        await until(
          () => repliesAt(lab)[inner === 4 ? 'four' : 'six'] === before[inner === 4 ? 'four' : 'six'] + 1,
          'the echo reply',
        );
      });
    }
  }

  await t.test('its HTTP server works without any tunnel', () => {
    const body = lab.client.run(process.execPath, [
      '--input-type=module',
      '-e',
      `const answer = await fetch('http://${guest.address4}/download?bytes=1000000');
       process.stdout.write(String((await answer.arrayBuffer()).byteLength));`,
    ]);
    assert.equal(body, '1000000');
  });
});
