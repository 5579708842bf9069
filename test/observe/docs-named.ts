// Sentences for operators name pages, places in them and commands: those that do not exist.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, read, root } from '../rules/sources.ts';

/** Anchors of a page as renderers of Markdown make them of its headings. */
function anchorsOf(page: string): Set<string> {
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map((match) => match[1]);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

const commands = new Set(
  filesBelow('src/cli/commands', '.ts').flatMap((file) =>
    [...read(file).matchAll(/\.command\('([a-z]+)/g)].map((match) => match[1]),
  ),
);

/** What `text` names and is not there, as sentences: `docs/page.md#anchor`, `gue-director COMMAND`. */
export function missingIn(text: string): string[] {
  const missing: string[] = [];
  for (const [, page, anchor] of text.matchAll(/(docs\/[a-z-]+\.md)(?:#([a-z0-9-]+))?/g)) {
    if (!existsSync(join(root, page))) missing.push(`there is no ${page}`);
    else if (anchor !== undefined && !anchorsOf(page).has(anchor)) missing.push(`${page} has no place ${anchor}`);
  }
  // Not of a unit, a file or a rule: `-u gue-director`, `restart gue-director`.
  for (const [, command] of text.matchAll(/(?<!(?:-u|status|restart|start|stop|dashboard) )gue-director ([a-z]+)/g)) {
    if (!commands.has(command)) missing.push(`there is no command ${command}`);
  }
  return missing;
}
