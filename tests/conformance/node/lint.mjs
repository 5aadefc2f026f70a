// Checks an SDL and documents (paths or globs from the folder ROOT) by rules.mjs; prints what it found as JSON.
import { ESLint } from 'eslint';
import configuration, { WITHOUT_ID } from './rules.mjs';

const [root, sdl, documents] = process.argv.slice(2);
process.chdir(root);

const config = configuration(sdl, documents);
const eslint = new ESLint({ cwd: root, overrideConfigFile: true, overrideConfig: config });
const results = await eslint.lintFiles(documents ? [sdl, documents] : [sdl]);
console.log(
  JSON.stringify({
    files: results.map(({ filePath }) => filePath),
    problems: results.flatMap(({ filePath, messages }) =>
      messages.map(({ ruleId, line, message }) => `${filePath}:${line} ${ruleId ?? ''} ${message}`),
    ),
    rules: Object.keys(Object.assign({}, ...config.map(({ rules }) => rules))),
    withoutId: WITHOUT_ID,
  }),
);
