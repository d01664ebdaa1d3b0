/** How a question of who belongs to no cluster, and the answer of a member, are written: JSON, read without belief. */

import type { ServerId, ServerMeta } from '../types.js'

export interface Question {
  readonly id: ServerId
  readonly incarnation: string
  /** Where it will be found, and what is to be said of it, if the leader makes it a nonvoter; absent: it waits. */
  readonly address?: string
  readonly meta?: ServerMeta
}

/**
 * What becomes of who asks to be made a nonvoter: `done`, it is a member; `again`, it may be soon; `elsewhere`, only
 * the leader can say; `waits`, an operator has to.
 */
export type Admission = 'done' | 'again' | 'elsewhere' | 'waits'

/** What a member says of its cluster; a refusal says why not. */
export type Told =
  | {
      readonly cluster: string
      readonly clusterId: string
      /** The payload of the first entry, in base64. */
      readonly first: string
      readonly recoveries: readonly string[]
      /** Who leads, as far as the member knows. */
      readonly leader: { readonly id: ServerId; readonly address: string } | null
      readonly admission: Admission
      /** Why it is so, and what to do, where it has to be said. */
      readonly remedy: string
    }
  | { readonly refusal: string }

export function encodeTold(value: Question | Told): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** Total: what is no object has no fields. */
export function decodeTold(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    // Whatever it throws is about these bytes.
    return {}
  }
}
