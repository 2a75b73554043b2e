;; Attacks: `host_call_bytes`: N calls of `get-arguments`, whose answer the host copies each time.
;; Input: N calls, 1 at least.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `hostcall_limit`; under, completes.
(component
  (import "wasi:cli/environment@0.2.0" (instance $env (export "get-arguments" (func (result (list string))))))
  ;; include skeleton
  (core module $r (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $r (instantiate $r))
  (core func $get (canon lower (func $env "get-arguments") (memory $skeleton "memory") (realloc (func $r "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "host" "get" (func $get (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (drop (call $alloc (i64.const 2000000)))
      (loop $again
        (call $get (i32.const 64))
        (br_if $again (i64.ne (i64.const 0) (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
      (call $answer (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "get" (func $get))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
