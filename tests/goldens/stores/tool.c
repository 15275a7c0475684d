static long sys(long n,long a,long b,long c){long r;__asm__ volatile("syscall":"=a"(r):"a"(n),"D"(a),"S"(b),"d"(c):"rcx","r11","memory");return r;}
void _start(void){static const char m[]="made by the tool\n";long f=sys(2,(long)"/made",0101,0644);sys(1,f,(long)m,sizeof m-1);f=sys(2,(long)"/cache/kept",0101,0644);sys(1,f,(long)m,sizeof m-1);sys(1,1,(long)m,sizeof m-1);sys(60,0,0,0);}
