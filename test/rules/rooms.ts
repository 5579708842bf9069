// The table of rooms and what each may import: docs/architecture.md says it for people, this says it for the test. A row that
// proves wrong is redrawn in both places, with the reason.

export interface Room {
  /**
   * Rooms it may import; `room/file` allows that one file only. '*' allows every room that is not a tool, '**' every room.
   */
  readonly may: readonly string[];
  /** Imports nothing from Node: it takes bytes, numbers and a clock. */
  readonly pure?: boolean;
}

const GROUND = ['base', 'wire', 'maglev-hash'];
const KERNEL = ['raw-socket', 'io', 'host'];

/** Standalone programs: nobody but `cli` imports them. */
export const TOOLS = ['worker', 'doctor', 'demo', 'replay', 'import', 'cli'];

export const ROOMS: Readonly<Record<string, Room>> = {
  base: { may: [], pure: true },
  wire: { may: ['base'], pure: true },
  'maglev-hash': { may: ['base'], pure: true },
  pipeline: { may: GROUND, pure: true },
  // Runs the path's own stages over one packet and says what each decided; the faces and the tools render it.
  explain: { may: [...GROUND, 'pipeline', 'config/address'], pure: true },
  // What a forwarding thread notes while somebody traces, and the words for it.
  trace: { may: ['base', 'wire', 'pipeline', 'explain', 'config/address'], pure: true },
  'raw-socket': { may: ['base'] },
  io: { may: ['base', 'wire', 'raw-socket'] },
  host: { may: ['base', 'wire', 'raw-socket'] },
  // What a check is told stands with the checks, as what the packet path is told stands with the path.
  config: { may: ['base', 'maglev-hash', 'pipeline/spec', 'health/spec'] },
  // A tunnel probe goes through the packet path itself.
  health: { may: ['base', 'wire', 'host', 'io', 'pipeline'] },
  control: { may: ['base', 'maglev-hash', 'config', 'pipeline/spec', 'pipeline/snapshot', 'pipeline/pool-table'] },
  observe: { may: ['base'] },
  admin: { may: ['base', 'observe', 'control', 'explain', 'trace'] },
  daemon: { may: ['*'] },
  worker: { may: [...GROUND, ...KERNEL, 'config'] },
  // What a worker has to unwrap is what the path writes.
  doctor: { may: [...GROUND, ...KERNEL, 'pipeline/spec', 'pipeline/tunnel-kind', 'config'] },
  demo: { may: [...GROUND, ...KERNEL, 'config'] },
  replay: { may: [...GROUND, 'pipeline', 'explain', 'io', 'config'] },
  import: { may: [...GROUND, ...KERNEL, 'pipeline/spec', 'config'] },
  cli: { may: ['**'] },
};

/** Each third-party package has one home: a room, or one file. */
export const PACKAGE_HOMES: Readonly<Record<string, string>> = {
  koffi: 'raw-socket/library.ts',
  zod: 'config/',
  yaml: 'config/',
  'ip-address': 'config/',
  pino: 'observe/',
  'prom-client': 'observe/',
  commander: 'cli/',
};

/** What test files beside the source may use besides their room's own imports. */
export const TEST_PACKAGES = ['fast-check'];
