/** How a question of who belongs to no cluster, and the answer of a member, are written: JSON, read without belief. */

import type { ServerId } from '../types.js'

export interface Question {
  readonly id: ServerId
  readonly incarnation: string
}

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
