/** What this server says of its versions. */

/** The version of Redis whose answers this server gives. Clients choose by it what they ask for. */
export const redisVersion = '7.0.15'

export const balsaVersion = '0.1.0'
