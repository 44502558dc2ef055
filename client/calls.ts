import type { paths } from './generated.ts'

/*
 * Types of a call by the path that it is sent to, `/groups/${id}`, without naming the path of the description: what does not fit any of them does not
 * compile.
 */

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

type Split<S extends string> = S extends `${infer Head}/${infer Rest}`
  ? [Head, ...Split<Rest>]
  : [S]

type FitsPart<Given extends string, Part extends string> = Part extends `{${string}}`
  ? true
  : [Given] extends [Part]
    ? [Part] extends [Given]
      ? true
      : false
    : false

type Fits<Given extends readonly string[], Parts extends readonly string[]> = Given extends [
  infer G extends string,
  ...infer Gs extends string[],
]
  ? Parts extends [infer P extends string, ...infer Ps extends string[]]
    ? FitsPart<G, P> extends true
      ? Fits<Gs, Ps>
      : false
    : false
  : Parts extends []
    ? true
    : false

type With<M extends Method> = {
  [K in keyof paths]: M extends keyof paths[K] ? K : never
}[keyof paths]

/** The path of the description that a path is one of. */
type Template<M extends Method, P extends string> = {
  [K in With<M>]: Fits<Split<P>, Split<K>> extends true ? K : never
}[With<M>]

type Unknown =
  'The interface has no such path: see client/generated.ts, or write it again with scripts/generate-client.ts'

/** A path itself when the interface has it; else what is wrong with it. */
export type Known<M extends Method, P extends string> = P extends string
  ? [Template<M, P>] extends [never]
    ? Unknown
    : P
  : never

type Operation<M extends Method, P extends string> = P extends string
  ? { [K in Template<M, P>]: M extends keyof paths[K] ? paths[K][M] : never }[Template<M, P>]
  : never

type Json<T> = T extends { content: { 'application/json': infer B } } ? B : undefined

type Success<T> = T extends { responses: infer R } ? Json<R[keyof R & (200 | 201 | 202)]> : never

/** What a call answers when it is not refused. */
export type AnswerOf<M extends Method, P extends string> = Success<Operation<M, P>>

/** What is only read may be given where it is not going to be changed. */
type Given<T> = T extends readonly (infer U)[]
  ? readonly Given<U>[]
  : T extends object
    ? { [K in keyof T]: Given<T[K]> }
    : T

type Body<T> = T extends { requestBody: infer R } ? Given<Json<R>> : undefined

/** The body that a call takes. */
export type BodyOf<M extends Method, P extends string> = Body<Operation<M, P>>

type Query<T> = T extends { parameters: { query?: infer Q } }
  ? Exclude<Q, undefined>
  : T extends { parameters: { query: infer Q } }
    ? Q
    : never

/** What may be asked for with a call. */
export type QueryOf<M extends Method, P extends string> = Query<Operation<M, P>>

type Outdated =
  'The interface answers something else: see client/generated.ts, or write it again with scripts/generate-client.ts'

/** Which words stand in a field may differ between versions; that it is there, and of its type, not. */
type Worded<T> = T extends string
  ? string
  : T extends readonly (infer U)[]
    ? Worded<U>[]
    : T extends object
      ? { [K in keyof T]: Worded<T[K]> }
      : T

/** Whether what is answered is what its reader takes it for. */
export type Reads<Answer, T> = [Worded<Answer>] extends [Worded<T>] ? unknown : Outdated

type Lists<T> = T extends { items: (infer U)[] } ? U : never

/** One item of a list. */
export type ItemOf<P extends string> = Lists<AnswerOf<'get', P>>
