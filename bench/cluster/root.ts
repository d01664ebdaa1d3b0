/** The folder of the clone, seen from the built bench. */

import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../../', import.meta.url))
