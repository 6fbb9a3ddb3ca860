package main

const exitCodes = `Exit codes

  0   It worked. For run and demo: the gateway ended because it was told to (SIGTERM, SIGINT), and all requests under
      way were answered.
  1   It failed while it ran: an address that is taken, a broker that cannot be reached, a file that cannot be written.
      The last line on standard error says what.
  2   It was called the wrong way: an unknown command or flag, a missing argument.
  3   The configuration, a document or a module has problems. Each is one line on standard error,
      file:line:column: setting: what is wrong.
  4   produce: at least one record was refused by a pipeline or the broker. The others are stored.
`

const environment = `Settings from the environment

Every setting of sluice.yaml can be overridden by an environment variable: SLUICE_ and the path of the setting in upper
case, with two underscores between keys. Elements of lists have their index, counted from 0; the index behind the
last one adds an element.

  SLUICE_ADMIN__BIND=0.0.0.0:9642              admin.bind
  SLUICE_CLUSTERS__0__BOOTSTRAP=a:9092,b:9092  clusters[0].bootstrap
  SLUICE_PIPELINES__0__STAGES__0__MODE=observe pipelines[0].stages[0].mode
  SLUICE_CACHE_DIR=/var/cache/sluice           cache_dir

In the file, and in these variables, ${env:NAME} stands for another variable and ${file:/path} for the contents of
a file: the right places for passwords and keys.
`
