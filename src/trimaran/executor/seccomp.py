"""Which system calls a sandboxed step may make: the default profile of Docker and containerd, as data.

One deviation, Podman's: a call that no list names answers ENOSYS, not EPERM, so that a C library newer than this list
takes its fallback; calls that the default profile knows and refuses answer EPERM as there. Under QEMU user mode the
calls are those of the machine, so the machine's architecture decides.
"""

from __future__ import annotations

from typing import Any

_EPERM, _ENOSYS = 1, 38

_ALLOWED_WORDS = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents
io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal
msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open
openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64
prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64
ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64
recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64
statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write
writev chroot
"""

_REFUSED_WORDS = """
acct add_key bdflush bpf clock_settime clock_settime64 create_module delete_module fanotify_init finit_module fsconfig
fsmount fsopen fspick get_kernel_syms get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm
iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount mount_setattr move_mount move_pages
nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise query_module quotactl
quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday stime
swapoff swapon _sysctl sysfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old
"""

#: per machine: calls that only exist there, and the architectures its kernel runs (libseccomp's names, its own first)
_MACHINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "amd64": ("arch_prctl modify_ldt", ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "386": ("modify_ldt", ("SCMP_ARCH_X86",)),
    "arm64": (
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    ),
    "arm": (
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        ("SCMP_ARCH_ARM",),
    ),
    "ppc64le": ("sync_file_range2 swapcontext", ("SCMP_ARCH_PPC64LE",)),
    "riscv64": ("riscv_flush_icache riscv_hwprobe", ("SCMP_ARCH_RISCV64",)),
    "s390x": (
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
        ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    ),
    "mips64le": ("cacheflush sysmips", ("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32")),
    "mips64": ("cacheflush sysmips", ("SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32")),
    "loong64": ("", ("SCMP_ARCH_LOONGARCH64",)),
}

_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACE_FLAGS = 0x7E020000
_AF_VSOCK = 40


def _argument(index: int, value: int, operation: str, value_two: int = 0) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "value": value, "op": operation}
    if value_two or operation == "SCMP_CMP_MASKED_EQ":
        result["valueTwo"] = value_two
    return result


_OWNER_WORDS = """
chown chown32 fchown fchown32 fchownat lchown lchown32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""


def profile(machine: str, *, one_user: bool = False) -> dict[str, Any]:
    """The `linux.seccomp` object for a machine by its Go architecture (OCI runtime spec, config-linux.md).

    `one_user`: calls that give files or oneself to another user are answered with success and do nothing, since there
    is no other user; package managers make them and go on.
    """
    extra, architectures = _MACHINES.get(machine, ("", ()))
    allow = "SCMP_ACT_ALLOW"
    pretended = set(_OWNER_WORDS.split()) if one_user else set()
    rules: list[dict[str, Any]] = [
        {"names": [name for name in _ALLOWED_WORDS.split() + extra.split() if name not in pretended], "action": allow},
        *([{"names": sorted(pretended), "action": "SCMP_ACT_ERRNO", "errnoRet": 0}] if pretended else []),
        {"names": ["socket"], "action": allow, "args": [_argument(0, _AF_VSOCK, "SCMP_CMP_NE")]},
        *(
            {"names": ["personality"], "action": allow, "args": [_argument(0, value, "SCMP_CMP_EQ")]}
            for value in _PERSONALITIES
        ),
        # A clone that makes no namespace; its flags are the second argument on s390.
        {
            "names": ["clone"],
            "action": allow,
            "args": [_argument(1 if machine == "s390x" else 0, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ", 0)],
        },
        # clone3 hides its flags behind a pointer: it gets the default answer, and the C library uses clone.
        {"names": _REFUSED_WORDS.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
    ]
    result: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _ENOSYS, "syscalls": rules}
    if architectures:
        result["architectures"] = list(architectures)
    return result
