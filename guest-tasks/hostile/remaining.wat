;; Attacks: `host_call_bytes`: N calls of `remaining` with a name of 100 MiB that no budget has.
;; Input: N calls, 1 at least.
;; Must happen: over, `hostcall_limit`; under, completes.
(component
  (import "omnimind:runtime/task-context@0.1.0" (instance $context
    (export "remaining" (func (param "budget" string) (result (option u64))))))
  ;; include skeleton
  (core func $remaining (canon lower (func $context "remaining") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "remaining" (func $remaining (param i32 i32 i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $p i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $p (call $alloc (i64.const 104857600)))
      (memory.fill (local.get $p) (i32.const 0x78) (i32.const 104857600))
      (loop $again
        (call $remaining (local.get $p) (i32.const 104857600) (i32.const 64))
        (br_if $again (i64.ne (i64.const 0) (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "remaining" (func $remaining))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
