/** What can go wrong in a world, by name: what plans weigh, traces tell, and the counters count. */

export const FAULT_NAMES = [
  'crash',
  'crash-at-point',
  'power-cut',
  'crash-all',
  'restart',
  'pause',
  'stall',
  'cut-one-way',
  'cut-bridge',
  'cut-majority',
  'cut-ring',
  'cut-server',
  'cut-some',
  'slow-path',
  'reset',
  'heal',
  'disk-slow',
  'disk-hang',
  'disk-full',
  'disk-fail',
  'bit-rot',
  'wipe',
  'clock-drift',
  'clock-step',
  'clock-freeze',
  'suspend',
  'rush',
  'depose',
] as const

export type FaultName = (typeof FAULT_NAMES)[number]
