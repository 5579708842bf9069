/** HTML that can not be broken out of: whatever a template fills in is text, unless it is HTML that such a template made. */

/** HTML. Made by `html` alone. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What a template may be filled with; nothing is made of null and false. */
export type Filling = string | number | Html | null | false | readonly Filling[];

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** For text and for attribute values in quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

function filled(value: Filling): string {
  if (value === null || value === false) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map(filled).join('');
  return escapeHtml(String(value));
}

/** A template: html`<td title="${name}">${name}</td>`. Attribute values stand in double quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly Filling[]): Html {
  return new Html(parts.reduce((text, part, i) => text + filled(values[i - 1]) + part));
}
