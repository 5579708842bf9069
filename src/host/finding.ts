/** A finding: one thing about the host that stops, hurts or concerns the configuration, with the exact command that changes it. */
export interface Finding {
  /** Stable word; its anchor in docs/host.md says what it means. */
  readonly id: string;
  /** `error`: `run` must not start. `warning`: some traffic will be lost or slow. `info`: worth knowing. */
  readonly level: 'error' | 'warning' | 'info';
  /** One sentence that names the object and the value found. */
  readonly text: string;
  /** The command to type, or empty when there is none (the text then says what to change). */
  readonly fix: string;
  /** The service that it is about, by name. */
  readonly service?: string;
  /** The tunnel source that it is about, 4 or 16 bytes. */
  readonly source?: Uint8Array;
  /** Exit code for `run` when this finding stops it and it is not 1: a missing privilege is 77, a wrong configuration 78. */
  readonly exitCode?: number;
}
