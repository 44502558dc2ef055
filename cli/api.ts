import type { Readable } from 'node:stream'

import type { z } from 'zod'

import type { AnswerOf, BodyOf, ItemOf, Known, Method, QueryOf, Reads } from '../client/calls.ts'

/**
 * What a person typed: it goes into the field that it is for, and whether it is one of the words that are taken there is for the server to say, which knows
 * those of its version.
 */
type Typed<T> = unknown extends T
  ? unknown
  : T extends string
    ? string
    : T extends boolean
      ? boolean
      : T extends readonly (infer U)[]
        ? readonly Typed<U>[]
        : T extends object
          ? { [K in keyof T]: Typed<T[K]> | undefined }
          : T

type Body<M extends Method, P extends string> = Typed<BodyOf<M, P>>

type Asked<P extends string> = {
  [K in keyof QueryOf<'get', P>]?: string | number | boolean | undefined
}

/** The schema of an answer, which has to be what the description of the interface says that it is. */
type Schema<T, Answer> = z.ZodType<T> & Reads<Answer, T>

export interface Listing<T> {
  items: T[]
  nextCursor: string | null
}

export interface Upload {
  source: Readable
  size: number
  method?: 'PUT' | 'POST'
  headers?: Record<string, string>
  query?: Record<string, string | number | boolean | undefined>
}

export interface StreamWanted {
  accept: string
  query?: Record<string, string | number | boolean | undefined>
  headers?: Record<string, string>
  signal?: AbortSignal
}

/**
 * Calls of the REST interface. Their paths, queries, bodies and answers are those of its description (client/generated.ts): another one does not compile.
 * What is answered is looked at all the same: the server may be of another version.
 */
export interface ApiClient extends Disposable {
  get: <const P extends string, T>(
    answer: Schema<T, AnswerOf<'get', P>>,
    path: P & Known<'get', P>,
    query?: Asked<P>,
  ) => Promise<T>
  /** Creates something: repeated safely, under one `Idempotency-Key`, when the answer is lost; under `key` by a later call too. */
  create: <const P extends string, T>(
    answer: Schema<T, AnswerOf<'post', P>>,
    path: P & Known<'post', P>,
    body: Body<'post', P>,
    key?: string,
  ) => Promise<T>
  /** Does something that is not repeated by itself: two actions are not one. */
  act: <const P extends string, T>(
    answer: Schema<T, AnswerOf<'post', P>>,
    path: P & Known<'post', P>,
    body: Body<'post', P>,
  ) => Promise<T>
  patch: <const P extends string, T>(
    answer: Schema<T, AnswerOf<'patch', P>>,
    path: P & Known<'patch', P>,
    body: Body<'patch', P>,
  ) => Promise<T>
  put: <const P extends string>(path: P & Known<'put', P>) => Promise<void>
  /** Sets all of something; the same again changes nothing. Fails with `precondition-failed` when it is not the version that was seen. */
  replace: <const P extends string, T>(
    answer: Schema<T, AnswerOf<'put', P>>,
    path: P & Known<'put', P>,
    body: Body<'put', P>,
    seen?: { version: string },
  ) => Promise<T>
  delete: <const P extends string>(path: P & Known<'delete', P>) => Promise<void>
  /** Streams bytes, with PUT unless told otherwise; `source` is read once, so it is not repeated. */
  upload: <const P extends string, T>(
    answer: z.ZodType<T>,
    path: P & (Known<'put', P> | Known<'post', P>),
    upload: Upload,
  ) => Promise<T>
  /**
   * An answer that is read piece by piece, as bytes. Breaking off fails the reading: nobody takes a part for the whole. Whoever does
   * not read it to its end destroys it. Not repeated by itself.
   */
  stream: <const P extends string>(
    path: P & Known<'get', P>,
    wanted: StreamWanted,
  ) => Promise<Readable>
  /** Every item of a list, page by page. Stops after `atMost` items. */
  list: <const P extends string, T>(
    page: z.ZodType<Listing<T>> & Reads<ItemOf<P>, T>,
    path: P & Known<'get', P>,
    query?: Omit<Asked<P>, 'limit' | 'cursor'> & { atMost?: number | undefined },
  ) => AsyncGenerator<T>
}
