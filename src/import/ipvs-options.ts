/**
 * One line of an IPVS rule file as options: what ipvsadm(8) knows, by long name. Short options may stand together (`-at`) and may bear
 * their value (`-w5`), long ones may too (`--weight=5`), as ipvsadm itself reads them.
 */

/** A word of the file. `column` is 1-based, in UTF-16 units as editors count them. */
export interface Word {
  readonly text: string;
  readonly column: number;
}

/** An option as it was given. */
export interface Given {
  /** The long name, without dashes. */
  readonly name: string;
  readonly at: Word;
  /** Its values; empty for an option that takes none, or whose optional value is missing. */
  readonly values: readonly Word[];
}

/** How many values follow; `optional`: one that does not begin with a dash. */
type Takes = 0 | 1 | 3 | 'optional';

const SHORT: Readonly<Record<string, string>> = {
  A: 'add-service',
  E: 'edit-service',
  D: 'delete-service',
  C: 'clear',
  R: 'restore',
  S: 'save',
  a: 'add-server',
  e: 'edit-server',
  d: 'delete-server',
  L: 'list',
  l: 'list',
  Z: 'zero',
  t: 'tcp-service',
  u: 'udp-service',
  f: 'fwmark-service',
  s: 'scheduler',
  p: 'persistent',
  M: 'netmask',
  b: 'sched-flags',
  r: 'real-server',
  g: 'gatewaying',
  i: 'ipip',
  m: 'masquerading',
  w: 'weight',
  x: 'u-threshold',
  y: 'l-threshold',
  n: 'numeric',
  o: 'ops',
  '6': 'ipv6',
};

const TAKES: Readonly<Record<string, Takes>> = {
  ...Object.fromEntries(Object.values(SHORT).map((name) => [name, 0])),
  'tcp-service': 1,
  'udp-service': 1,
  'sctp-service': 1,
  'fwmark-service': 1,
  scheduler: 1,
  persistent: 'optional',
  netmask: 1,
  'sched-flags': 1,
  'real-server': 1,
  weight: 1,
  'u-threshold': 1,
  'l-threshold': 1,
  pe: 1,
  'tun-type': 1,
  'tun-port': 1,
  'tun-nocsum': 0,
  'tun-csum': 0,
  'tun-remcsum': 0,
  set: 3,
  'start-daemon': 1,
  'stop-daemon': 1,
  syncid: 1,
  'sync-maxlen': 1,
  'mcast-interface': 1,
  'mcast-group': 1,
  'mcast-port': 1,
  'mcast-ttl': 1,
};

/** Long names, for "did you mean". */
export const OPTION_NAMES: readonly string[] = Object.keys(TAKES);

/** The words of a line; white space separates them, nothing is quoted. */
export function wordsOf(line: string): Word[] {
  return [...line.matchAll(/\S+/g)].map((match) => ({ text: match[0], column: match.index + 1 }));
}

/** What is wrong, and where. */
export interface Fault {
  readonly at: Word;
  readonly message: string;
}

/** The options of a line, or the first thing that is none. */
export function optionsOf(words: readonly Word[]): { options: Given[]; fault: Fault | null } {
  const options: Given[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const pieces = piecesOf(word);
    if (pieces === null) return { options, fault: { at: word, message: `"${word.text}" is not an option` } };
    for (const { name, at, attached } of pieces) {
      const takes = Object.hasOwn(TAKES, name) ? TAKES[name] : undefined;
      if (takes === undefined) return { options, fault: { at, message: `ipvsadm has no option "${at.text}"` } };
      const values: Word[] = [];
      if (attached !== null) {
        if (takes === 0 || takes === 3) return { options, fault: { at, message: `--${name} takes no value after "="` } };
        values.push(attached);
      } else if (takes === 'optional') {
        if (i + 1 < words.length && !words[i + 1].text.startsWith('-')) values.push(words[++i]);
      } else {
        for (let k = 0; k < takes; k++) {
          if (i + 1 >= words.length) return { options, fault: { at, message: `a value is missing after "${at.text}"` } };
          values.push(words[++i]);
        }
      }
      options.push({ name, at, values });
    }
  }
  return { options, fault: null };
}

interface Piece {
  readonly name: string;
  readonly at: Word;
  readonly attached: Word | null;
}

/** `--name`, `--name=value`, `-x`, `-xy`, `-xVALUE`; null for a word that is no option. */
function piecesOf(word: Word): Piece[] | null {
  const { text, column } = word;
  if (text.startsWith('--')) {
    const equals = text.indexOf('=');
    if (equals < 0) return [{ name: text.slice(2), at: word, attached: null }];
    const attached = { text: text.slice(equals + 1), column: column + equals + 1 };
    return [{ name: text.slice(2, equals), at: { text: text.slice(0, equals), column }, attached }];
  }
  if (!text.startsWith('-') || text.length < 2) return null;
  const pieces: Piece[] = [];
  for (let k = 1; k < text.length; k++) {
    const letter = text[k];
    const name = Object.hasOwn(SHORT, letter) ? SHORT[letter] : letter;
    const at = { text: `-${letter}`, column: k === 1 ? column : column + k };
    const rest = k + 1 < text.length ? { text: text.slice(k + 1), column: column + k + 1 } : null;
    const takes = Object.hasOwn(TAKES, name) ? TAKES[name] : 0;
    // `-p` is read by itself: `-po` is persistent and one-packet.
    if (takes === 1 && rest !== null) {
      pieces.push({ name, at, attached: rest });
      break;
    }
    pieces.push({ name, at, attached: null });
  }
  return pieces;
}
