/** Of a model on a data set: mean cross-entropy in nats, and the share of examples that it gets right. */
export interface Metrics {
  readonly loss: number;
  readonly accuracy: number;
}
