/** Lines of a keepalived.conf → statements and blocks. A statement ends with its line or with a brace; a block belongs to the statement before it. */
import type { SourceLine } from './keepalived-lines.ts';
import type { Place, Problems } from './place.ts';

export interface Word {
  readonly text: string;
  readonly at: Place;
}

export interface Statement {
  /** At least one. */
  readonly words: readonly Word[];
  /** Null: none. */
  readonly block: readonly Statement[] | null;
}

interface Draft {
  readonly words: readonly Word[];
  block: Draft[] | null;
}

interface Open {
  readonly head: Draft | null;
  readonly at: Place;
  readonly into: Draft[];
}

/**
 * `stands`: how many blocks a keyword stands in (0: outermost); null for one that may stand anywhere. Where a word appears too deep, the
 * block that was not closed before it is the fault, not the end of the file.
 */
export function readBlocks(
  lines: readonly SourceLine[],
  stands: (keyword: string) => number | null,
  problems: Problems,
): readonly Statement[] {
  const outermost: Draft[] = [];
  let open: Open[] = [];
  const here = () => open.at(-1)?.into ?? outermost;
  let last = null as Draft | null;
  const unclosed = ({ head, at }: Open, why: string) => {
    const name =
      head === null
        ? 'this brace'
        : `the block "${head.words
            .map(({ text }) => text)
            .join(' ')
            .slice(0, 60)}"`;
    problems.add(at, 'GD_IMPORT_BRACES', `${name} is not closed ${why}`);
  };
  for (const line of lines) {
    let words: Word[] = [];
    const end = () => {
      if (words.length === 0) return;
      const depth = stands(words[0].text);
      if (depth !== null && depth < open.length) {
        unclosed(open.at(-1)!, `before "${words[0].text}" in line ${words[0].at.line}`);
        open = open.slice(0, depth);
      }
      last = { words, block: null };
      here().push(last);
      words = [];
    };
    for (const piece of pieces(line, problems)) {
      if (piece.kind === 'word') words.push(piece);
      else if (piece.kind === '{') {
        end();
        const head: Draft | null = last !== null && last.block === null ? last : null;
        if (head === null) problems.add(piece.at, 'GD_IMPORT_BRACES', 'no word stands before this brace that it could belong to');
        else head.block = [];
        open.push({ head, at: piece.at, into: head?.block ?? [] });
        last = null;
      } else {
        end();
        if (open.pop() === undefined) problems.add(piece.at, 'GD_IMPORT_BRACES', 'this brace closes nothing');
        last = null;
      }
    }
    end();
  }
  for (const one of open) unclosed(one, 'before the end of the file');
  return outermost;
}

type Piece = { readonly kind: '{' | '}'; readonly at: Place } | (Word & { readonly kind: 'word' });

const ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', E: '\x1b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** Words and braces. Quotation marks are taken away, and what they hold stays together; `\` means something only between them. */
function* pieces({ text, file, line, exact }: SourceLine, problems: Problems): Generator<Piece> {
  const place = (offset: number): Place => ({
    ...(file === undefined ? {} : { file }),
    line,
    column: Math.min(offset, exact) + 1,
  });
  let word = '';
  let from = -1;
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    const isBrace = letter === '{' || letter === '}';
    if (isBrace || /\s/.test(letter)) {
      if (from >= 0) yield { kind: 'word', text: word, at: place(from) };
      [word, from] = ['', -1];
      if (isBrace) yield { kind: letter, at: place(i) };
      continue;
    }
    if (from < 0) from = i;
    if (letter !== '"' && letter !== "'") {
      word += letter;
      continue;
    }
    const opened = i++;
    for (; i < text.length && text[i] !== letter; i++) {
      if (text[i] !== '\\') {
        word += text[i];
        continue;
      }
      const escaped = /^(?:x([0-9a-fA-F]{1,4})|([0-7]{1,3})|([\s\S]))/.exec(text.slice(i + 1, i + 6));
      if (escaped === null) break;
      const code = escaped[1] !== undefined ? Number.parseInt(escaped[1], 16) : Number.parseInt(escaped[2] ?? '', 8);
      word += escaped[3] === undefined ? String.fromCharCode(code) : (ESCAPES[escaped[3]] ?? escaped[3]);
      i += escaped[0].length;
    }
    if (i >= text.length) problems.add(place(opened), 'GD_IMPORT_QUOTE', 'the quotation mark is not closed in its line');
  }
  if (from >= 0) yield { kind: 'word', text: word, at: place(from) };
}
