;; Attacks: `host_call_bytes`: N lookups of a name of 1000 bytes, which the host carries to the refusal.
;; Input: N lookups, 1 at least.
;; When the host says no: it goes on with the next lookup; `unreachable` if one is granted.
;; Must happen: over, `hostcall_limit`; under, completes and returns its input.
(component
  (import "wasi:sockets/network@0.2.0" (instance $types
    (export "network" (type (sub resource)))
    (type $e (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
      "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $e)))))
  (alias export $types "network" (type $network))
  (alias export $types "error-code" (type $error-code))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance
    (export "network" (type $n (eq $network)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (export "network" (type $n (eq $network)))
    (export "error-code" (type $e (eq $error-code)))
    (export "resolve-address-stream" (type $s (sub resource)))
    (export "resolve-addresses" (func
      (param "network" (borrow $n)) (param "name" string) (result (result (own $s) (error $e)))))))
  ;; include skeleton
  (core func $network (canon lower (func $instance "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "network" (func $network (result i32)))
    (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (local $n i64) (local $handle i32)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (local.set $handle (call $network))
      (memory.fill (i32.const 4096) (i32.const 0x78) (i32.const 1000))
      (loop $again
        (call $resolve (local.get $handle) (i32.const 4096) (i32.const 1000) (i32.const 64))
        (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
        (br_if $again (i64.ne (i64.const 0) (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "network" (func $network)) (export "resolve" (func $resolve))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
