async function run(input) {
  return 1;
}
