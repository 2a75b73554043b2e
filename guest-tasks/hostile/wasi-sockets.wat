;; Attacks: nothing; asks for a TCP socket.
;; Input: ignored.
;; When the host says no: returns `denied` as its output.
;; Must happen: accepted without a grant; completes with `denied`; `open` is a fault of the host.
(component
  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $e (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
      "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $e)))
    (type $f (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $f)))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (export "error-code" (type $e (eq $error-code)))
    (export "ip-address-family" (type $f (eq $family)))
    (export "tcp-socket" (type $t (eq $tcp-socket)))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $t) (error $e)))))))
  ;; include skeleton
  (core func $create-tcp-socket (canon lower (func $create "create-tcp-socket") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "create-tcp-socket" (func $create-tcp-socket (param i32 i32)))
    (data (i32.const 128) "deniedopen")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $create-tcp-socket (i32.const 0) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $answer (i32.const 0) (i32.const 128) (i32.const 6)))))
      (call $answer (i32.const 0) (i32.const 134) (i32.const 4))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "create-tcp-socket" (func $create-tcp-socket))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
