/** Gives openapi-typescript the compiler of TypeScript 5 that `@ts-morph/common` brings: it writes with its API, which TypeScript 7 has no more. */
import { registerHooks } from 'node:module';

const TYPESCRIPT_5 = import.meta.resolve('@ts-morph/common/dist/typescript.js');

registerHooks({
  resolve: (specifier, context, next) => next(specifier === 'typescript' ? TYPESCRIPT_5 : specifier, context),
});
