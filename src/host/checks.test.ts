import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typed } from '../../test/doctor/typed.ts';
import { judgeIptables, judgeRuleset } from './check-firewall.ts';
import { checkCapabilities, missingCapabilities } from './check-process.ts';
import { refusal } from './checks.ts';
import { notrackRules } from './notrack.ts';
import { ROUTE_PROTOCOL } from './routes.ts';
import { sysctlName } from './sysctl.ts';
import { servicePrefixes, type Wanted } from './wanted.ts';

const prefix = (length: number, ...bytes: number[]) => ({ bytes: Uint8Array.from(bytes), length });
const service = (name: string, of: { bytes: Uint8Array; length: number }) => ({
  name,
  prefix: of,
  protocol: 6,
  portFrom: 80,
  portTo: 80,
});
const wanted: Wanted = {
  ingress: { driver: 'tun', device: 'gd0', queueLength: 10000 },
  services: [
    service('a', prefix(24, 203, 0, 113, 0)),
    service('b', prefix(32, 203, 0, 113, 7)),
    service('c', prefix(32, 203, 0, 113, 7)),
    service('d', prefix(32, 0x20, 1, 0xd, 0xb8, ...new Array(12).fill(0))),
  ],
  backends: [],
  tunnelSources: [],
  tunnelPorts: [6081, 6080, 6081],
  tunnelProtocols: [],
  egressDevice: null,
  udpSourcePorts: null,
};

test('services that share a prefix share its routes; notrack names the outermost prefixes once', () => {
  assert.equal(servicePrefixes(wanted).length, 3);
  const rules = notrackRules(wanted);
  assert.match(rules, /ip daddr { 203\.0\.113\.0\/24 } notrack/);
  assert.match(rules, /ip6 saddr { 2001:db8::\/32 } notrack/);
  assert.match(rules, /udp dport { 6080, 6081 } notrack/);
  assert.equal(notrackRules({ ...wanted, ingress: { driver: 'memory' } }), '');
});

test('capabilities are read from CapEff', () => {
  assert.deepEqual(missingCapabilities('CapPrm:\tffff\nCapEff:\t0000000000003000\n'), []);
  assert.deepEqual(missingCapabilities('CapEff:\t0000000000001000\n'), ['CAP_NET_RAW']);
  const findings = typed(checkCapabilities(wanted, 'Name:\tnode\nCapPrm:\t3000\nCapEff:\t0000000000000000\n'));
  assert.equal(findings[0].id, 'capability-missing');
  assert.match(findings[0].text, /CAP_NET_ADMIN and CAP_NET_RAW/);
  assert.equal(refusal(findings)?.exitCode, 77);
  assert.deepEqual(checkCapabilities({ ...wanted, ingress: { driver: 'memory' } }, 'CapEff:\t0\n'), []);
});

test('iptables-save: a DROP policy matters until a rule accepts our device', () => {
  const saved =
    '*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [3:180]\n:OUTPUT ACCEPT [0:0]\n-A FORWARD -o docker0 -j DOCKER\nCOMMIT\n';
  assert.equal(typed(judgeIptables(saved, 'gd0', 'iptables'))[0].fix, 'iptables -I FORWARD -o gd0 -j ACCEPT');
  assert.deepEqual(judgeIptables(saved.replace('-A', '-A FORWARD -o gd0 -j ACCEPT\n-A'), 'gd0', 'iptables'), []);
  assert.equal(judgeIptables(saved.replace('-A', '-A FORWARD -o gd01 -j ACCEPT\n-A'), 'gd0', 'iptables').length, 1);
  assert.equal(judgeIptables(saved, 'gdx0', 'iptables', 'in')[0].fix, 'iptables -I FORWARD -i gdx0 -j ACCEPT');
  assert.deepEqual(judgeIptables(saved.replace('-A', '-A FORWARD -i gdx0 -j ACCEPT\n-A'), 'gdx0', 'iptables', 'in'), []);
  assert.deepEqual(judgeIptables(saved.replace('FORWARD DROP', 'FORWARD ACCEPT'), 'gd0', 'iptables'), []);
});

test('nft: each dropping forward chain of a family that services use', () => {
  const chain = (family: string, policy: string) => ({
    chain: { family, table: 't', name: 'f', type: 'filter', hook: 'forward', prio: 0, policy },
  });
  const json = (...entries: object[]) => JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6' } }, ...entries] });
  const both = new Set([4, 16]);
  assert.equal(judgeRuleset(json(chain('ip', 'drop'), chain('ip6', 'drop')), 'gd0', both).length, 2);
  assert.equal(judgeRuleset(json(chain('ip', 'drop'), chain('ip6', 'drop')), 'gd0', new Set([16])).length, 1);
  assert.deepEqual(judgeRuleset(json(chain('inet', 'accept'), chain('bridge', 'drop')), 'gd0', both), []);
  const rule = (device: string, verdict: object) => ({
    rule: {
      family: 'inet',
      table: 't',
      chain: 'f',
      expr: [{ match: { op: '==', left: { meta: { key: 'oifname' } }, right: device } }, verdict],
    },
  });
  assert.deepEqual(judgeRuleset(json(chain('inet', 'drop'), rule('gd0', { accept: null })), 'gd0', both), []);
  assert.equal(judgeRuleset(json(chain('inet', 'drop'), rule('gd0', { drop: null })), 'gd0', both).length, 1);
  assert.equal(judgeRuleset(json(chain('inet', 'drop'), rule('eth1', { accept: null })), 'gd0', both).length, 1);
});

test('our route protocol is nobody else’s, and an interface with a dot has a sysctl name', () => {
  const taken = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 42, 99, 186, 187, 188, 189, 192];
  assert.equal(taken.includes(ROUTE_PROTOCOL), false);
  assert.equal(sysctlName('net', 'ipv4', 'conf', 'eth0.100', 'rp_filter'), 'net.ipv4.conf.eth0/100.rp_filter');
});
