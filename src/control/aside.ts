/**
 * What somebody knows besides the configuration and that belongs to it: drains of its backends, the last good content of its files, what its checks
 * found. It goes with the configuration when another one comes into force, and comes back with it when that one is taken back.
 */
export interface SetsAside {
  /** Another configuration is about to come into force, and may be taken back. */
  setAside(): void;
  /** The one before is about to be in force again: what was set aside counts again. */
  bringBack(): void;
  /** The new one stays. */
  forget(): void;
}
