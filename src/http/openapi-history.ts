import { badRange, cutHeader, guarded, json, list, notModified, problem, ref } from './openapi-answers.ts';
import * as examples from './openapi-examples.ts';
import { lastEventIdParameter, rangeParameters } from './openapi-parameters.ts';

const HISTORY = `Per source a row at \`from\` with what it was then, one per change, and one at the end (\`to\` or now, whichever comes first). \
At its removal a row with \`state\` and \`verdict\` null and drift_count 0: it does not exist from then on, until a row says that it is back. \
Where it is back in the same millisecond there is no such row. \`limit\` counts rows and cuts by whole sources: those that changed last stay. \
If one source alone has more, its newest rows stay. Nothing is shown of what lies further back than HISTORY_RETENTION. verdict selects sources \
by what they are now.`;
const EVENTS = `Server-sent events, one object each: \`id\`, \`event\` and \`data\`, whose text is JSON. After a break, Last-Event-ID resumes as far \
back as memory goes; where that does not reach, or the id is one of another start, an event \`reset\` says to read everything anew.`;

/** What was, and what happens. */
export const historyPaths = {
  '/history.json': {
    get: guarded('read', {
      operationId: 'getHistory',
      tags: ['history'],
      summary: 'What the sources were, as changes of state',
      description: HISTORY,
      parameters: rangeParameters,
      responses: {
        200: { ...json('Ascending in time.', list('StateChange'), [examples.stateChange]), headers: cutHeader },
        304: notModified,
        400: badRange,
      },
    }),
  },
  '/drifts.json': {
    get: guarded('read', {
      operationId: 'listDrifts',
      tags: ['history'],
      summary: 'Drifts that overlap a range of time',
      parameters: rangeParameters,
      responses: {
        200: {
          ...json('Sorted by repo, server, name, beginning.', list('Drift'), [examples.drift]),
          headers: cutHeader,
        },
        304: notModified,
        400: badRange,
      },
    }),
  },
  '/api/events': {
    get: guarded('read', {
      operationId: 'followEvents',
      tags: ['events'],
      summary: 'Changes as they happen',
      description: EVENTS,
      parameters: [lastEventIdParameter],
      responses: {
        200: {
          description: 'A stream that stays open.',
          content: { 'text/event-stream': { schema: ref('StreamEvent'), example: examples.event } },
        },
        503: problem('Too many listeners, or the service is stopping.'),
      },
    }),
  },
};
