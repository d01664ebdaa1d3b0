/**
 * A connection of its own between two servers, for what is long and must not stand before messages: frames in order, in
 * both directions, until one side closes it or it breaks; none twice, none changed in its length. A transport may leave
 * it to whoever uses the channel to check what is in a frame. Its users bound what is on its way by agreement with each
 * other.
 */
export interface Channel {
  /**
   * Sends a frame of 1 .. CHANNEL_FRAME_BYTES_MAX bytes, which the caller leaves alone until the other side has shown
   * that it has it, or for good; needs no flush.
   * Nothing once the channel is closed. Over the bound of the write queue it ends, and `onClosed` is called before this
   * returns.
   */
  send(frame: Uint8Array): void
  /** Bytes that the system has not taken yet; 0 once it is closed. */
  readonly queuedBytes: number
  /**
   * Tells the other side why, if it can be told, after what was sent. No handler of this side is called any more. Does
   * nothing the second time.
   */
  close(reason: string): void
}

/** Whoever uses a channel is told what comes by it. */
export interface ChannelHandlers {
  /** `frame` is lent until this returns. */
  onFrame(frame: Uint8Array): void
  /** The other side has closed it, or it has broken; called once, and nothing after it. */
  onClosed(reason: string): void
}

/** Bytes of one frame of a channel. */
export const CHANNEL_FRAME_BYTES_MAX = 1024 * 1024

/** With one peer, in one direction. */
export const CHANNELS_MAX = 3

/** What is wrong with a frame that is to be sent on a channel, or null. */
export function channelFrameFlaw({ byteLength }: Uint8Array): string | null {
  if (byteLength >= 1 && byteLength <= CHANNEL_FRAME_BYTES_MAX) return null
  return `a frame of a channel has ${byteLength} bytes: it must have 1 .. ${CHANNEL_FRAME_BYTES_MAX}`
}
