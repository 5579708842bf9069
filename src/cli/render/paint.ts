/** Colour for terminals: none in a pipe or file, none with NO_COLOR (no-color.org), always with FORCE_COLOR. */

export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

const plain = (text: string) => text;

const PLAIN: Paint = { bold: plain, dim: plain, red: plain, green: plain, yellow: plain };

const COLOURED: Paint = {
  bold: (text) => `\x1b[1m${text}\x1b[22m`,
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  red: (text) => `\x1b[31m${text}\x1b[39m`,
  green: (text) => `\x1b[32m${text}\x1b[39m`,
  yellow: (text) => `\x1b[33m${text}\x1b[39m`,
};

/** NO_COLOR wins over FORCE_COLOR, and both over what the stream is. Empty values count as not set. */
export function paintFor(stream: { isTTY?: boolean }, environment: NodeJS.ProcessEnv = process.env): Paint {
  const { NO_COLOR, FORCE_COLOR, TERM } = environment;
  if (NO_COLOR !== undefined && NO_COLOR !== '') return PLAIN;
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR === '0' || FORCE_COLOR === 'false' ? PLAIN : COLOURED;
  return stream.isTTY === true && TERM !== 'dumb' ? COLOURED : PLAIN;
}
