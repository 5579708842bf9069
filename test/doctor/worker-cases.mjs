// Runs inside a guest whose kernel has `fou`, set up as docs/workers.md says: breaks one thing after the other, looks, applies the commands, looks again. One JSON line for
// each case goes to standard output. Arguments: the folder of the compiled program, and the virtual IPs.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [dist, vip4, vip6] = process.argv.slice(2);
const { gatherWorker } = await import(`${dist}/doctor/worker/gather.js`);
const { judgeWorker } = await import(`${dist}/doctor/worker/examine.js`);
const { wantedByWords } = await import(`${dist}/doctor/worker/wanted.js`);
const { parseAnyAddress } = await import(`${dist}/config/address.js`);

const vips = [vip4, vip6].map((text) => ({ address: parseAnyAddress(text).value, protocol: 6, port: 80 }));
const wanted = wantedByWords(vips, 'gue', 6080, [4, 6]);

const server = createServer();
server.listen(80, '::');
await once(server, 'listening');

const CHAIN = 'add table inet f; add chain inet f in { type filter hook input priority 0; };';

/** [name, commands that break it] */
const CASES = [
  ['good', ''],
  ['fou-port-missing', 'ip fou del port 6080 && ip fou add port 6081 gue'],
  ['fou-port-type', 'ip fou del port 6081; ip fou del port 6080 && ip fou add port 6080 ipproto 4'],
  ['fou-missing', 'ip fou del port 6080; ip -6 fou del port 6080; rmmod fou6 && rmmod fou'],
  ['tunnel-device-down', 'ip link set tunl0 down'],
  ['tunnel-device-missing', 'ip link set sit0 down; rmmod sit'],
  ['tunnel-device-mode', 'ip link del gue6'],
  ['tunnel-reverse-path', 'echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 2 > /proc/sys/net/ipv4/conf/tunl0/rp_filter'],
  ['vip-missing', `ip addr del ${vip4}/32 dev lo; ip addr del ${vip6}/128 dev lo`],
  ['vip-on-link', `ip addr del ${vip4}/32 dev lo; ip addr add ${vip4}/32 dev eth0`],
  ['worker-mtu', 'ip link set eth0 mtu 1500'],
  ['tunnel-dropped', `nft '${CHAIN} add rule inet f in udp dport { 53, 6080 } counter drop'`],
  ['input-policy', `nft flush ruleset; nft '${CHAIN} chain inet f in { policy drop; }; add rule inet f in tcp dport 80 accept'`],
  ['arp-answers', `ip addr add ${vip4.replace(/\d+$/, '251')}/24 dev eth0`],
];

function sh(command) {
  const { status, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  return status === 0 ? '' : `${command}: ${stderr}`;
}

function look() {
  const { findings } = judgeWorker(gatherWorker(), wanted, false);
  return findings.filter(({ level }) => level !== 'ok');
}

for (const [name, breaks] of CASES) {
  const complaints = [sh(breaks)];
  const broken = look();
  for (const { fix } of broken) complaints.push(sh(fix));
  const cured = breaks === '' ? [] : look();
  console.log(
    `case ${JSON.stringify({ name, broken: broken.map(({ id, text }) => ({ id, text })), cured: cured.map(({ id, text }) => ({ id, text })), complaints: complaints.filter((text) => text !== '') })}`,
  );
}
server.close();
