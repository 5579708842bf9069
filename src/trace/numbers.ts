/** Whom the numbers in a batch's columns mean. A service of several addresses or ports is several numbers there, and has one id. */
import { H_SERVICE_COUNT, H_SERVICES, S_ID, SERVICE_WORDS } from '../pipeline/layout.ts';
import type { Snapshot, SnapshotNames } from '../pipeline/snapshot.ts';

/** Names by the numbers that batches have, for one snapshot. */
export interface ColumnNames {
  readonly services: readonly { readonly number: number; readonly name: string; readonly pool: string }[];
  readonly backends: readonly { readonly number: number; readonly name: string; readonly pool: string }[];
}

/** `names`: those of `snapshot`. */
export function columnNames({ words }: Snapshot, names: SnapshotNames): ColumnNames {
  const byId = new Map(names.services.map((service) => [service.id, service]));
  const services = Array.from({ length: words[H_SERVICE_COUNT] }, (_, number) => {
    const { name = '', pool = '' } = byId.get(serviceId(words, number)) ?? {};
    return { number, name, pool };
  });
  return { services, backends: names.backends.map(({ id, name, pool }) => ({ number: id, name, pool })) };
}

/** Id of the service that the column has as `number`; −1 for none. */
export function serviceId(words: Int32Array, number: number): number {
  return number < 0 ? -1 : words[words[H_SERVICES] + number * SERVICE_WORDS + S_ID];
}
