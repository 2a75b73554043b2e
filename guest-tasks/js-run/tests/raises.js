function share(n) {
  return 1 / n.value;
}

function run(input) {
  return input.map((n) => share(n));
}
