/** Memory for received packets: the kernel writes it, stages read it, and its checksums are summed by vectors where the engine has them. */
import { addressOf } from '../raw-socket/library.ts';
import { adviseHugePages, giveBackPages, type MappedMemory, mapMemory } from '../raw-socket/memory.ts';
import { forgetVectors, useVectors } from '../wire/checksum.ts';
import { createVectorMemory } from '../wire/vector-sum.ts';

export interface PacketMemory extends MappedMemory {
  /** `view` is over this memory from its first byte on: `checksum.sum` of that view, this very object, is fast from now on, in this thread. */
  summedThrough(view: DataView): void;
}

/**
 * `bytes` of zeroed memory with huge pages where the kernel has some; for the calling thread. Throws CodedError GD_RAW_SOCKET_CALL when
 * there is none. The collector takes it once no view is left.
 */
export function mapPacketMemory(bytes: number): PacketMemory {
  const vectors = createVectorMemory(bytes);
  if (vectors === null) return { ...mapMemory(bytes), summedThrough() {} };
  const { buffer, sum } = vectors;
  const whole = new Uint8Array(buffer);
  adviseHugePages(whole);
  return {
    buffer,
    address: addressOf(whole),
    summedThrough: (view) => useVectors(view, sum),
    release() {
      forgetVectors(buffer);
      giveBackPages(whole);
    },
  };
}
