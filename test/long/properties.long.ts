/** The properties again, with as many times their usual runs as `PROPERTY_RUNS` says (`npm run test:long`: 25). */
import '../access/glob.test.ts';
import '../core/history.test.ts';
import '../properties.test.ts';
