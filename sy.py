import os,time
for d in ('/tmp','/work/main'):
    p=d+'/xx';b=os.urandom(9700)
    for sync in (0,1):
        t=time.time()
        for i in range(200):
            f=os.open(p+'.new',os.O_CREAT|os.O_WRONLY|os.O_TRUNC,0o600);os.write(f,b)
            if sync: os.fdatasync(f)
            os.close(f);os.rename(p+'.new',p)
        print(d,sync,(time.time()-t)/200*1e6,'us')
    os.unlink(p)
