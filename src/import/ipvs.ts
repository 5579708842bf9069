/** `gue-director import ipvs`: the rules of a kernel's IPVS → a configuration, and what is not the same. */
import { type CommonOptions, type Imported, importRules, type NamedText } from './imported.ts';
import { applyCommands } from './ipvs-rules.ts';
import { parseIpvsSave } from './ipvs-save.ts';
import { IPVSADM } from './wording.ts';

export interface ImportOptions extends CommonOptions {
  readonly rules: NamedText;
}

/** Throws what `importRules` throws. */
export function importIpvs({ rules, ...options }: ImportOptions): Imported {
  return importRules(rules.name, (problems) => applyCommands(parseIpvsSave(rules.text, problems), problems), options, IPVSADM, {
    empty: 'no virtual service in it: is it what "ipvsadm-save -n" printed?',
    more: 'are these rules, as "ipvsadm-save -n" prints them?',
  });
}
