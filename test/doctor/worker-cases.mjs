// Runs inside a guest whose kernel has `fou`, set up as docs/workers.md says: breaks one thing after the other, looks, applies the commands, looks again. One JSON line
// goes to standard output. Arguments: the folder of the compiled program, and the virtual IPs.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [dist, vip4, other4, vip6] = process.argv.slice(2);
const { gatherWorker } = await import(`${dist}/doctor/worker/gather.js`);
const { judgeWorker } = await import(`${dist}/doctor/worker/examine.js`);
const { wantedByWords } = await import(`${dist}/doctor/worker/wanted.js`);
const { parseAnyAddress } = await import(`${dist}/config/address.js`);

const vips = [vip4, other4, vip6].map((text) => ({ address: parseAnyAddress(text).value, protocol: 6, port: 80 }));
const wanted = wantedByWords(vips, 'gue', 6080, [4, 6]);

const server = createServer();
server.listen(80, '::');
await once(server, 'listening');

/** Things that are broken together, none of which hides another: finding and commands. A look takes a second or more in a guest. */
const BREAKS = {
  'fou-port-missing': 'ip fou del port 6080 && ip fou add port 6081 gue',
  'fou-port-type': 'ip -6 fou del port 6080 && ip -6 fou add port 6080 ipproto 41',
  'tunnel-device-down': 'ip link set tunl0 down',
  'tunnel-device-missing': 'ip link set sit0 down && rmmod sit',
  'tunnel-device-mode': 'ip link del gue6',
  'tunnel-reverse-path': 'echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 2 > /proc/sys/net/ipv4/conf/tunl0/rp_filter',
  'vip-missing': `ip addr del ${vip4}/32 dev lo`,
  'vip-on-link': `ip addr del ${vip6}/128 dev lo && ip addr add ${vip6}/128 dev eth0 nodad`,
  'arp-answers': `ip addr add ${other4.replace(/\d+$/, '251')}/24 dev eth0`,
  'worker-mtu': 'ip link set eth0 mtu 1500',
};

/** In one shell: to fork this process is what costs time. */
function sh(commands) {
  const { status, stderr } = spawnSync('sh', ['-ec', commands.join('\n')], { encoding: 'utf8' });
  return status === 0 && stderr === '' ? '' : `${commands.join('\n')}: ${stderr}`;
}

function look() {
  const { findings } = judgeWorker(gatherWorker(), wanted, false);
  // Whether this kernel has nftables is not the question.
  return findings.filter(({ level, id }) => level !== 'ok' && id !== 'input-unknown');
}

const complaints = [sh(Object.values(BREAKS))];
const broken = look();
complaints.push(sh(broken.map(({ fix }) => fix)));
const cured = look();
const said = { names: Object.keys(BREAKS), broken, cured, complaints: complaints.filter((text) => text !== '') };
console.log(`round ${JSON.stringify(said)}`);
server.close();
