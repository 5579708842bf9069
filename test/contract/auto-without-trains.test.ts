// A kernel before 4.18 knows no UDP_SEGMENT: `auto` is `raw` then, and says so.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AutoEgress } from '../../src/io/auto/egress.ts';
import { UDP_SEGMENT } from '../../src/raw-socket/socket.ts';
import { Namespace } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { refuseCall } from './refuse-call.ts';

const ENOPROTOOPT = 92;

test('a kernel without UDP_SEGMENT: raw alone, from the same ports, with a warning', needs('root', 'namespaces'), (t) => {
  const host = new Namespace();
  t.after(() => host.close());
  refuseCall('setsockopt', 2, UDP_SEGMENT, ENOPROTOOPT);
  host.inside(() => {
    const egress = new AutoEgress();
    assert.equal(egress.name, 'auto:raw');
    assert.match(egress.warning?.message ?? '', /UDP_SEGMENT/);
    assert.match(egress.warning?.hint ?? '', /4\.18/);
    const { layer, trains, trainsNeedChecksum, maxSegments, sourcePortBase, sourcePortMask } = egress.facts;
    assert.deepEqual(
      { layer, trains, trainsNeedChecksum, maxSegments, sourcePortBase, sourcePortMask },
      { layer: 'l3', trains: 'none', trainsNeedChecksum: false, maxSegments: 1, sourcePortBase: 61440, sourcePortMask: 255 },
    );
    // Sockets of the namespace, by protocol: a heading and a line for each.
    const sockets = (...tables: string[]) =>
      tables.flatMap((table) => readFileSync(`/proc/thread-self/net/${table}`, 'utf8').trimEnd().split('\n').slice(1)).length;
    assert.deepEqual([sockets('udp', 'udp6'), sockets('raw', 'raw6')], [0, 2], 'the UDP sockets are closed again');
    egress.close();
  });
});
