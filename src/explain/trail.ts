/** What the packet path decided about one packet, stage by stage: plain data, as `explain --json` prints it and the status page reads it. */

import type { Tuple } from './tuple.ts';

export interface Trail {
  readonly packet: PacketStep;
  readonly service: ServiceStep;
  /** Only of packets of a service, as are those behind it. */
  readonly flow: FlowStep | null;
  readonly choice: ChoiceStep | null;
  readonly size: SizeStep | null;
  /** What leaves; null when nothing does. */
  readonly sent: SentStep | null;
  readonly verdict: 'forward' | 'drop' | 'reply' | 'pass' | 'held';
  readonly reason: { readonly word: string; readonly text: string } | null;
}

export interface PacketStep extends Tuple {
  /** Bytes of the frame. */
  readonly length: number;
  /** Its headers, outermost first, one line each. */
  readonly headers: readonly string[];
  /** Of an ICMP error: the packet that it is about. */
  readonly quoted: Tuple | null;
  readonly checksumCompleted: boolean;
  /** Its finished TCP or UDP checksum is wrong as it came. The packet path does not look; who receives the packet does. */
  readonly checksumWrong: boolean;
}

export interface ServiceMatch {
  readonly name: string;
  readonly pool: string;
  /** As it is configured: `tcp 192.0.2.0/24 port 80-88`. */
  readonly takes: string;
}

export interface ServiceStep {
  readonly matched: ServiceMatch | null;
  /** Services that take the packet too and stand back, because theirs is the shorter prefix or the wider port range. */
  readonly shadowed: readonly ServiceMatch[];
  /** Services that do not take it, though all but one thing fits. */
  readonly near: readonly (ServiceMatch & { readonly but: string })[];
}

/** How the packet's backend is looked for. */
export type LookedUpBy = 'flow' | 'quote' | 'fragment' | 'server-id' | 'packet' | 'addresses' | 'ports' | 'table';

export interface FlowStep {
  readonly by: LookedUpBy;
  /** Of the 5-tuple, 8 hexadecimal digits: the same on every director. */
  readonly hash: string;
  /** The flow's entry before this packet; null without one, or where none is looked for. */
  readonly entry: FlowEntry | null;
  /** What this packet does to the flow table. */
  readonly effect: 'none' | 'refreshed' | 'created' | 'moved';
}

export interface FlowEntry {
  /** Region of the flow table: the number of the thread that writes it, while the number of threads stays. */
  readonly region: number;
  /** POOL/NAME; null for a backend that is no longer known. */
  readonly backend: string | null;
  /** Seconds since a packet of the flow was seen. */
  readonly idle: number;
  readonly confirmed: boolean;
  /** Whether it is followed; otherwise why not. */
  readonly serves: boolean;
  readonly because: string | null;
}

/** Where the answer came from. */
export type ChosenFrom =
  | 'entry'
  | 'other-thread'
  | 'previous-table'
  | 'table'
  | 'server-id'
  | 'first-fragment'
  | 'turn'
  | 'nobody';

export interface ChoiceStep {
  readonly from: ChosenFrom;
  readonly pool: string;
  /** null: nobody serves. */
  readonly backend: string | null;
  readonly address: string | null;
  readonly state: string | null;
  readonly weight: number | null;
  /** Slots of the table that are its own, of so many; a draining backend has none. */
  readonly slots: number | null;
  readonly scheme: string;
  readonly tableSize: number;
  readonly digest: string;
  /** What the table itself says about this packet; null where it can not be asked by packet, or is empty. */
  readonly table: SlotAnswer | null;
  /** The same of the table before the last change, while it answers. */
  readonly previous: (SlotAnswer & { readonly seconds: number }) | null;
  /** What a running director knows against this backend; absent: nothing, or none was asked. */
  readonly warnings?: readonly string[];
}

export interface SlotAnswer {
  /** null where the scheme has no one slot. */
  readonly slot: number | null;
  readonly backend: string | null;
}

export interface SizeStep {
  /** Bytes of the largest outer packet to this backend; 0 for no limit. */
  readonly pathMtu: number;
  /** Bytes of outer headers. */
  readonly overhead: number;
  /** Bytes of the packet, its IP header included. */
  readonly length: number;
  /** Bytes of payload in each segment of a merged frame, 0 for a packet. */
  readonly segment: number;
  readonly policy: string;
  readonly becomes: 'whole' | 'segments' | 'fragments' | 'outer-fragments' | 'uncut' | 'nothing';
  readonly parts: number;
  /** Its sender is told the size that fits. */
  readonly answered: boolean;
  readonly mssClamped: boolean;
}

export interface SentStep {
  readonly encapsulation: string;
  /** Bytes of every packet that leaves. */
  readonly lengths: readonly number[];
  /** Headers of the first one, outermost first. */
  readonly headers: readonly string[];
  /** Offsets in the first one. The tunnel header's length is what the incident behind this project had wrong. */
  readonly offsets: {
    readonly outerNetwork: number;
    readonly outerTransport: number;
    readonly tunnel: number;
    readonly innerNetwork: number;
    readonly innerTransport: number;
    readonly end: number;
  };
  /** From the outer transport header to the inner packet; the least that is right, and what it is. */
  readonly tunnelLength: { readonly least: number; readonly is: number };
  /** The first one, hexadecimal. Of long packets as much as was asked for. */
  readonly bytes: string;
}
