/**
 * Where the data of a server is lost or in doubt, there is a way out that makes it worse. Every such error says so, in
 * these words.
 */

export const neverEmpty =
  'Do not start this server in an empty directory, nor from a backup: it would have forgotten what it acknowledged and whom it voted for, and writes that the cluster confirmed could vanish (README, "Copies of a folder")'
