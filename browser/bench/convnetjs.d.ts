declare module "convnetjs" {
  interface Volume {
    readonly w: Float64Array;
  }
  interface Layer {
    readonly filters?: readonly Volume[];
    readonly biases?: Volume;
  }
  const convnetjs: {
    Vol: new (sx: number, sy: number, depth: number, value: number) => Volume;
    Net: new () => { readonly layers: readonly Layer[]; makeLayers(layers: readonly object[]): void };
    Trainer: new (
      net: object,
      options: object,
    ) => { train(example: Volume, label: number): { cost_loss: number } };
  };
  export default convnetjs;
}
