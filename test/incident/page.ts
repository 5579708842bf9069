// A page of commands and what they print, as a test reads it: fenced blocks of `console`, in which a line that begins with a host's name and a prompt is typed there, and
// the lines below it are what comes back. `…` stands for anything: on a line of its own for any lines, inside a line for any characters.

/** One command, and what it must print. */
export interface Step {
  readonly host: string;
  readonly command: string;
  readonly expected: readonly string[];
}

const PROMPT = /^([a-z]+)[$#] (.+)$/;

/** Steps of a page, in order. Throws on a line before any command. */
export function stepsOf(page: string): Step[] {
  return [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, block]) => {
    const steps: { host: string; command: string; expected: string[] }[] = [];
    for (const line of block.trimEnd().split('\n')) {
      const typed = PROMPT.exec(line);
      if (typed !== null) steps.push({ host: typed[1], command: typed[2], expected: [] });
      else if (steps.length === 0) throw new Error(`"${line}" stands before any command`);
      else steps[steps.length - 1].expected.push(line);
    }
    return steps;
  });
}

/** Whether `text` is what was promised: every line of it, but for `…`. */
export function isAsPromised(text: string, expected: readonly string[]): boolean {
  const quoted = (line: string) => line.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = expected.map((line) => (line === '…' ? '(?:.*\\n)*?' : `${quoted(line).join('.*')}\\n`)).join('');
  const lines = text.split('\n').map((line) => line.trimEnd());
  while (lines.at(-1) === '') lines.pop();
  return new RegExp(`^${pattern}$`).test(lines.map((line) => `${line}\n`).join(''));
}
