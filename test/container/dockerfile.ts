// Reads a Dockerfile as far as this project's own needs: stages, RUN, COPY, WORKDIR, USER, ENTRYPOINT, CMD, HEALTHCHECK in their plain forms. What
// it does not know is an error, so that nothing in the file goes untested.

export type Instruction =
  | { readonly kind: 'run'; readonly command: string; readonly line: number }
  | {
      readonly kind: 'copy';
      readonly from: string | null;
      readonly sources: readonly string[];
      readonly to: string;
      readonly line: number;
    }
  | { readonly kind: 'workdir'; readonly path: string; readonly line: number }
  | { readonly kind: 'user'; readonly name: string; readonly line: number }
  | { readonly kind: 'entrypoint'; readonly words: readonly string[]; readonly line: number }
  | { readonly kind: 'healthcheck'; readonly words: readonly string[]; readonly line: number }
  | { readonly kind: 'cmd'; readonly words: readonly string[]; readonly line: number };

export interface Stage {
  readonly image: string;
  readonly name: string | null;
  readonly instructions: Instruction[];
}

/** Throws an Error that names the line of what it does not understand. */
export function parseDockerfile(text: string): Stage[] {
  const stages: Stage[] = [];
  let pending = '';
  let start = 0;
  text.split('\n').forEach((raw, index) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return;
    if (pending === '') start = index + 1;
    if (line.endsWith('\\')) {
      pending += `${line.slice(0, -1).trim()} `;
      return;
    }
    const whole = pending + line;
    pending = '';
    const space = whole.indexOf(' ');
    read(stages, whole.slice(0, space).toUpperCase(), whole.slice(space + 1).trim(), start);
  });
  return stages;
}

function read(stages: Stage[], word: string, rest: string, line: number): void {
  if (word === 'FROM') {
    const [, image, name] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(rest) ?? fail(line, rest);
    stages.push({ image, name: name ?? null, instructions: [] });
    return;
  }
  const stage = stages.at(-1) ?? fail(line, `${word} before FROM`);
  switch (word) {
    case 'RUN':
      stage.instructions.push({ kind: 'run', command: rest, line });
      return;
    case 'COPY': {
      const words = rest.split(/\s+/);
      const from = words[0].startsWith('--from=') ? words.shift()!.slice('--from='.length) : null;
      if (words.length < 2 || words.some((part) => part.startsWith('--'))) fail(line, rest);
      stage.instructions.push({ kind: 'copy', from, sources: words.slice(0, -1), to: words.at(-1)!, line });
      return;
    }
    case 'WORKDIR':
      stage.instructions.push({ kind: 'workdir', path: rest, line });
      return;
    case 'USER':
      stage.instructions.push({ kind: 'user', name: rest, line });
      return;
    case 'ENTRYPOINT':
      stage.instructions.push({ kind: 'entrypoint', words: JSON.parse(rest) as string[], line });
      return;
    case 'HEALTHCHECK': {
      const [, words] = /^(?:--[a-z-]+=\S+\s+)*CMD\s+(\[.*\])$/.exec(rest) ?? fail(line, rest);
      stage.instructions.push({ kind: 'healthcheck', words: JSON.parse(words) as string[], line });
      return;
    }
    case 'CMD':
      stage.instructions.push({ kind: 'cmd', words: JSON.parse(rest) as string[], line });
      return;
    default:
      fail(line, word);
  }
}

function fail(line: number, what: string): never {
  throw new Error(`Dockerfile:${line}: not understood: ${what}`);
}
