/** What this server says of its versions. */

/** The version of Redis whose answers this server gives. Clients choose by it what they ask for. */
export const REDIS_VERSION = '7.0.15'

export const BALSA_VERSION = '0.1.0'
