// pm2 start examples/pm2/ecosystem.config.js --only validator      (or miner)
const neuron = (role) => ({
  name: role,
  script: "/opt/bettensor/bin/bettensor",
  args: [role, "--config", `${role}.yaml`],
  cwd: "/etc/bettensor",
  interpreter: "none",
  kill_timeout: 30000, // the neuron first stores and answers what it has
  restart_delay: 5000,
  stop_exit_codes: [2], // the configuration is wrong: a restart cannot help, and `pm2 logs` says what to correct
});

module.exports = { apps: [neuron("validator"), neuron("miner")] };
