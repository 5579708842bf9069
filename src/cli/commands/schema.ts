/** `gue-director schema`: the JSON Schema of the configuration file. */
import type { Command } from 'commander';

export function register(program: Command): void {
  program
    .command('schema')
    .summary('print the JSON Schema of the configuration, for editors')
    .description('Prints the JSON Schema (draft-07) of the configuration file: completion, descriptions and errors while typing.')
    .addHelpText(
      'after',
      `
Example, for editors with the YAML language server:
  gue-director schema > director.schema.json
  and as first line of director.yaml:  # yaml-language-server: $schema=./director.schema.json`,
    )
    .action(async () => {
      const { jsonSchema } = await import('../../config/json-schema.ts');
      process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
    });
}
